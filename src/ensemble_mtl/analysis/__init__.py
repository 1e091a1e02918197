"""From the members' results to one summary: means, comparisons, curvature, convergence."""
