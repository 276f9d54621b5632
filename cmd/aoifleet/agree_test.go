package main

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"testing"
)

// A "y" that comes after another process has answered a question is no answer to the next one.
func TestLateAnswer(t *testing.T) {
	stdin, keyboard := io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	call := newInvocation(ctx, &process{stdin: stdin, stderr: &bytes.Buffer{}, asks: true, getenv: func(string) string { return "" }}, newSignals(stop))
	approved := make(chan struct{})
	close(approved)
	if !call.agreeOr("continue with wave 2?", approved) {
		t.Fatal("not approved")
	}
	if _, err := keyboard.Write([]byte("y\n")); err != nil {
		t.Fatal(err)
	}
	for len(call.typed) == 0 {
		runtime.Gosched()
	}
	answered := make(chan bool)
	go func() { answered <- call.agreeOr("continue with wave 3?", make(chan struct{})) }()
	if _, err := keyboard.Write([]byte("n\n")); err != nil { // read by that question alone
		t.Fatal(err)
	}
	if <-answered {
		t.Error("the late answer counts")
	}
}
