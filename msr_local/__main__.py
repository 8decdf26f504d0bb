"""`python -m msr_local`"""

from .cli import main

main()
