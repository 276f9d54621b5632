package agent

import (
	"fmt"
	"os"
	"time"
)

// logger writes lines in the format of Rust's `tracing`. The file is opened for each
// line: a rotated log needs no signal, and an idle agent has no open descriptor.
type logger struct {
	path   string
	colour bool
	silent bool
}

// line writes one line; level is one of ERROR, WARN, INFO, DEBUG, TRACE.
func (l *logger) line(level, module, message string) {
	if l.silent {
		return
	}
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return // like an agent with a full disk: it continues without a log
	}
	defer f.Close()
	_, _ = f.WriteString(l.format(time.Now(), level, module, message))
}

func (l *logger) format(now time.Time, level, module, message string) string {
	stamp := now.UTC().Format("2006-01-02T15:04:05.000000Z")
	if !l.colour {
		return fmt.Sprintf("%s %5s %s: %s\n", stamp, level, module, message)
	}
	colours := map[string]string{"ERROR": "31", "WARN": "33", "INFO": "32", "DEBUG": "34", "TRACE": "35"}
	return fmt.Sprintf("\x1b[2m%s\x1b[0m \x1b[%sm%5s\x1b[0m \x1b[2m%s\x1b[0m\x1b[2m:\x1b[0m %s\n", stamp, colours[level], level, module, message)
}
