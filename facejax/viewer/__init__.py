"""Results in a browser: `view_results`. `results` makes what is shown, `page` shows it."""

from facejax.viewer.page import view_results as view_results
