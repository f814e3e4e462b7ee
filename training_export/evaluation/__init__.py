"""How well a network's scores do: figures with intervals, and the reason where the data do not give one."""
