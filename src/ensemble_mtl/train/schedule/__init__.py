"""Learning-rate schedules with per-member state, one file each."""
