// The page for addresses that do not exist: only what every page has.

import "../shell.js";
