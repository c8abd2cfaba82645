"""Training one bound module: data, losses, the plan of steps, incidents, the teacher."""
