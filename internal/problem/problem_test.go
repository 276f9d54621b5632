package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strconv"
	"testing"
)

// richer is an error with another field, like those of the packages above.
type richer struct {
	Base
	Code string `json:"code,omitempty"`
}

func (e *richer) Unwrap() error { return &e.Base }

func TestErrorIsFound(t *testing.T) {
	plain := &Error{Class: Disk, Message: "full", Hint: "free some", Err: fs.ErrPermission}
	for name, err := range map[string]error{
		"itself":   plain,
		"wrapped":  fmt.Errorf("a: %w", plain),
		"embedded": fmt.Errorf("a: %w", &richer{Base: *plain, Code: "c"}),
	} {
		if e := As(err); e == nil || *e != *plain {
			t.Errorf("%s: %+v", name, e)
		}
		if !Is(err, Disk) || Is(err, Sudo) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s has another class, or no cause", name)
		}
	}
	if e := (&richer{Base: *plain}); e.Error() != "full" {
		t.Errorf("the message of a richer error is %q", e.Error())
	}
	for _, err := range []error{nil, fs.ErrExist} {
		if As(err) != nil || Is(err, Internal) {
			t.Errorf("%v counts as an Error", err)
		}
	}
}

func TestNew(t *testing.T) {
	if got, want := *New(Usage, "100%", "%d of %s", 3, "4"), (Error{Class: Usage, Message: "3 of 4", Hint: "100%"}); got != want {
		t.Errorf("%+v", got)
	}
}

func TestErrorAsJSON(t *testing.T) {
	full := Error{Class: Disk, Message: "full", Hint: "free some", Err: fs.ErrExist}
	for want, e := range map[string]any{
		`{"class":"disk","message":"full","hint":"free some"}`:            full,
		`{"class":"","message":""}`:                                       Error{},
		`{"class":"disk","message":"full","hint":"free some","code":"c"}`: &richer{Base: full, Code: "c"},
	} {
		got, err := json.Marshal(e)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

// Every declared class has an exit code.
func TestEveryClassHasAnExitCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "classes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Class" {
			return true
		}
		declared++
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if _, known := exitCodes[Class(text)]; err != nil || !known {
			t.Errorf("%s has no exit code", spec.Names[0].Name)
		}
		return true
	})
	if declared != len(exitCodes) {
		t.Errorf("%d classes are declared, %d have exit codes", declared, len(exitCodes))
	}
	if code := Class("new").ExitCode(); code != ExitInternal {
		t.Errorf("an unknown class: %d", code)
	}
}
