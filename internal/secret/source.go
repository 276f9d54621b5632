package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// read reads the secret from its source.
func (r *Resolver) read(key readKey, what string) (Value, error) {
	var text string
	var err error
	s, most := key.source, MaxSize
	if key.file {
		most = MaxFile
	}
	switch {
	case s.Ask:
		text, err = r.fromTerminal(what)
	case s.File != "":
		text, err = fromFile(s.File, most)
	case s.Env != "":
		text, err = r.fromEnv(s.Env)
	case s.Command != "":
		text, err = fromCommand(r.ctx, s.Command, most)
	default:
		err = &problem.Error{Class: problem.Usage, Message: "no source is named"}
	}
	if err != nil {
		return Value{}, err
	}
	if !key.file {
		text, err = oneLine(text)
	} else if p := CheckText(text); p != nil {
		err = p
	}
	if err != nil {
		return Value{}, err
	}
	if r.known != nil {
		r.known(text)
	}
	return New(text), nil
}

// oneLine returns text without its final newline, which editors write.
func oneLine(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return "", &problem.Error{Class: problem.Usage, Message: "it is empty"}
	case len(text) > MaxSize:
		return "", tooLong(MaxSize)
	case strings.ContainsAny(text, "\n\x00"):
		return "", &problem.Error{Class: problem.Usage, Message: "it has more than one line", Hint: "take one line of a command's output: … | head -n 1"}
	}
	return text, nil
}

func tooLong(most int) *problem.Error {
	return problem.New(problem.Usage, "", "it is longer than %d bytes", most)
}

func (r *Resolver) fromTerminal(what string) (string, error) {
	if r.ask == nil {
		return "", &problem.Error{Class: problem.Usage, Message: "can't prompt: stdin is not a terminal", Hint: "name a file, an environment variable or a command in the inventory"}
	}
	r.asking.Lock()
	defer r.asking.Unlock()
	if err := r.ctx.Err(); err != nil {
		return "", err
	}
	text, err := r.ask(what + ": ")
	switch {
	case err == nil:
		return text, nil
	case r.ctx.Err() != nil:
		return "", r.ctx.Err()
	}
	return "", &problem.Error{Class: problem.Usage, Message: "can't read from the terminal"}
}

// fromEnv reads an environment variable. An empty one counts as not set.
func (r *Resolver) fromEnv(name string) (string, error) {
	if text := r.getenv(name); text != "" {
		return text, nil
	}
	return "", &problem.Error{Class: problem.Usage, Message: "the environment variable " + name + " is not set", Hint: "is it exported?"}
}

// fromFile reads a file, which only its owner may access, as ssh requires of private
// keys. It calls Stat first, because opening a FIFO blocks.
func fromFile(path string, most int) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fileProblem(path, err)
	}
	if !info.Mode().IsRegular() {
		return "", &problem.Error{Class: problem.Usage, Message: path + " is not a regular file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fileProblem(path, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return "", fileProblem(path, err)
	}
	how := localfile.Exposed(path)
	if mode := info.Mode().Perm(); how == "" && mode&0o077 != 0 && runtime.GOOS != "windows" { // another user's file
		how = fmt.Sprintf("mode %04o", mode)
	}
	if how != "" {
		return "", problem.New(problem.Usage, display.MakePrivate(path), "%s can be read or written by others (%s)", path, how)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+3)) // one too many, and the newline
	if err != nil {
		return "", fileProblem(path, err)
	}
	return string(text), nil
}

func fileProblem(path string, err error) *problem.Error {
	reason := "I/O error"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		reason = "no such file"
	case errors.Is(err, fs.ErrPermission):
		reason = "permission denied"
	}
	return &problem.Error{Class: problem.Usage, Message: "can't read " + path + ": " + reason}
}
