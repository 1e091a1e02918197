"""From a summary to tables, figures and one HTML file."""
