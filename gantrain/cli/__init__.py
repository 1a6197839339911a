"""The `gantrain` command. Modules import torch only inside commands, so that --help is fast."""
