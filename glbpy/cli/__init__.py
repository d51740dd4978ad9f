"""The command line `glb`: parse, call, render. One module per group of commands."""
