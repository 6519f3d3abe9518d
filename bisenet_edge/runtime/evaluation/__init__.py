"""How right the masks of one network are: any scale, mirrored or in windows; nothing here needs torch."""
