package progress

// group is the part of a log that a pipeline can fold and that is open: that of a part of the
// run, such as a wave.
type group struct {
	title string
	end   func() string // nil: none is open
}

// within returns a line of what goes on, in the group of the part of the run; d.mu is held.
func (d *Display) within(l line) []line {
	if d.Group == nil || d.group.end != nil && d.group.title == d.model.name() {
		return []line{l}
	}
	lines := d.outside()
	begin, end := d.Group(d.model.name())
	d.group = group{d.model.name(), end}
	return append(lines, line{text: begin, direct: true}, l)
}

// outside returns the line that ends the open group, so that what follows is not folded; d.mu
// is held.
func (d *Display) outside() []line {
	if d.group.end == nil {
		return nil
	}
	end := d.group.end()
	d.group = group{}
	return []line{{text: end, direct: true}}
}
