"""How true and how frugal the reconciler's schedule is: six hours of upstream's time in a minute of ours."""
