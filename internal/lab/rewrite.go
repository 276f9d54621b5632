package lab

import "io"

// The lines of host.sh around the block that the lab replaces.
const (
	machineBegin = "# --- machine ---\n"
	machineEnd   = "# --- end machine ---\n"
)

// rewriter passes a stream to out and replaces the text between the two
// marker lines, each time that they appear. It delays only the beginning of a
// line that may still become a marker, so that all other data passes at once.
type rewriter struct {
	out      io.Writer
	block    string // whole lines
	midLine  bool   // the line so far can't be a marker
	held     int    // bytes of the marker seen in this line
	skipping bool   // inside the block
}

// Write passes p. Its result counts bytes of p, not of the output.
func (r *rewriter) Write(p []byte) (int, error) {
	pass := make([]byte, 0, len(p)+len(machineBegin))
	for _, c := range p {
		pass = r.step(pass, c)
	}
	if len(pass) == 0 {
		return len(p), nil
	}
	if _, err := r.out.Write(pass); err != nil {
		return 0, err
	}
	return len(p), nil
}

// step processes one byte and appends the bytes that can pass because of it.
func (r *rewriter) step(pass []byte, c byte) []byte {
	marker := machineBegin
	if r.skipping {
		marker = machineEnd
	}
	if !r.midLine && c == marker[r.held] {
		if r.held++; r.held < len(marker) {
			return pass
		}
		r.held = 0
		r.skipping = !r.skipping
		pass = append(pass, marker...)
		if r.skipping {
			pass = append(pass, r.block...)
		}
		return pass
	}
	if !r.skipping {
		pass = append(append(pass, marker[:r.held]...), c)
	}
	r.held, r.midLine = 0, c != '\n'
	return pass
}

// Flush passes the delayed bytes at the end of the stream.
func (r *rewriter) Flush() error {
	if r.skipping || r.held == 0 {
		return nil
	}
	_, err := io.WriteString(r.out, machineBegin[:r.held])
	r.held, r.midLine = 0, true
	return err
}
