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

// watchedOutput is standard output. It remembers the first write that failed, so that
// commands need not look: a run goes on to its end, and run looks at the end.
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

// failure is the write that failed, or nil. A reader that went away, as head
// does, wanted no more (EPIPE).
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

// verbOf is a command without the program's name: "plan", "inventory list".
func verbOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()), " ")
}

// asksForJSON looks for -o json in arguments that may not be understood: where
// one of them is wrong the others have not been read.
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
