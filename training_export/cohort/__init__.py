"""A cohort: a site's studies without their patients, as networks are trained and judged on them."""
