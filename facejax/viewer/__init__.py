"""Results in a browser: `view_results`; what is shown is made in `results`, the page in `page`."""

from facejax.viewer.page import view_results as view_results
