package main

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// watchedOutput is standard output. It keeps the error of the first failed write, so that
// commands need not check each one: a run continues to its end, and run checks then.
type watchedOutput struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

// Write is io.Writer.
func (o *watchedOutput) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

// failure returns the error of the first failed write, or nil. EPIPE is not a failure: a
// reader such as head has read enough.
func (o *watchedOutput) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var path *fs.PathError
	switch {
	case errors.Is(o.err, syscall.EPIPE):
		return nil
	case errors.As(o.err, &path):
		return path.Err
	}
	return o.err
}

// verbOf returns a command without the program's name: "plan", "inventory list".
func verbOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()), " ")
}

// asksForJSON reports whether args contain -o json. It does not parse them: after a wrong
// argument the flags have not been read.
func asksForJSON(args []string) bool {
	for i, arg := range args {
		switch arg {
		case "--":
			return false
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		case "-ojson", "-o=json", "--output=json":
			return true
		}
	}
	return false
}
