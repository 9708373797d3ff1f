"""The program that a capsule is: starts runs where there is nothing of Gage but itself."""
