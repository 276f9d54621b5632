package ci

import (
	"bytes"
	"io"
	"sync"
)

// Guard is a writer to the log of a pipeline. In what is written to it nothing is a command of
// the system that reads the log, whoever has said it, such as an agent in its own log:
//
//   - GitHub's runner acts on a line that begins with :: after spaces, and on ##[ anywhere in
//     a line (actions/runner, ActionCommand.cs: TryParseV2, TryParse);
//   - Azure's agent acts on ##vso[ anywhere (azure-pipelines-agent, Command.cs), and formats
//     lines that begin with ##[.
//
// So a space separates two # and two : at the start of a line. JSON has an escape instead, and
// its meaning does not change. Both programs compare by the rules of a language, in which some
// characters count for nothing; so characters outside ASCII and control characters do not
// separate here. GitLab's sections need a carriage return and an escape sequence, which are
// removed from all text of others before.
type Guard struct {
	W io.Writer

	mu    sync.Mutex
	on    bool
	json  bool
	begun bool // the line has more than spaces
	colon bool // and that is one colon
	hash  bool // the last character was a #
}

// Watch sets whether the guard changes anything, and whether the text is JSON.
func (g *Guard) Watch(on, json bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on, g.json = on, json
}

// Write is io.Writer.
func (g *Guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.on {
		return g.W.Write(p)
	}
	out := make([]byte, 0, len(p)+16)
	for _, c := range p {
		out = g.add(out, c)
	}
	if _, err := g.W.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// add appends a byte so that it completes no command.
func (g *Guard) add(out []byte, c byte) []byte {
	switch {
	case c == '\n' || c == '\r':
		g.begun, g.colon, g.hash = false, false, false
	case c < ' ' && c != '\t' || c > '~': // counts for nothing
	case c == '#':
		if g.hash && g.json {
			return append(out, `\u0023`...)
		}
		if g.hash {
			out = append(out, ' ')
		}
		g.begun, g.colon, g.hash = true, false, true
	case c == ':' && !g.begun: // never in JSON
		g.begun, g.colon, g.hash = true, true, false
	case c == ':' && g.colon:
		out = append(out, ' ')
		g.colon = false
	default:
		g.begun, g.colon, g.hash = g.begun || c != ' ' && c != '\t', false, false
	}
	return append(out, c)
}

// neutral returns text in which nothing is a command.
func neutral(text string) string {
	var out bytes.Buffer
	g := Guard{W: &out, on: true}
	_, _ = g.Write([]byte(text)) // a buffer accepts everything
	return out.String()
}
