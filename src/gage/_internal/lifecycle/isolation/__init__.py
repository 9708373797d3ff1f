"""Sealed runs: started where nothing is but what a run may rely on.

A run is proven independent by starting it where the project, the home directory, other runs and
the environment that staged it do not exist. What does exist is an allow list (`view.py`):
directories of the system, the interpreters that the run requires, the run itself, and an empty
home and `/tmp`.

One of three rungs holds it, the first that works here (`isolate.py`): mounts in a user namespace of
its own (`namespaces.py`), bubblewrap (`bubblewrap.py`), which some systems allow where they forbid
the first, and Landlock (`landlock.py`), which needs no namespaces; what it hides can be seen and
not opened. Whether one works is found out by entering it.

That the run failed to open a file is not enough to know: a program may swallow the error. So the
kernel tells of each file that a process of the run is about to open (`watch.py`), and one that is
there outside, and not for the run, makes the run fail and is named. This only looks; what holds is
the rung.

All of it happens between fork and exec (`child.py`). The command is the child itself, so that
process group, terminal, signals and exit status are those of a run that is not sealed.
"""
