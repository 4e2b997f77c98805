"""Studies of finished things: what is measured into results/ and not by `scoat evaluate`; each runs by itself."""
