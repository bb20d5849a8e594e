"""What ``python -m rolesanywhere_helper`` and the launcher run."""

import sys

if sys.flags.no_site:  # the launcher's `python -I -S`: only the standard library can be found yet
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])

from rolesanywhere_helper.fastpath import main

sys.exit(main())
