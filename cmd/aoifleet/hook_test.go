//go:build linux

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// startHook: hook CODE starts a webhook that answers with an HTTP status, or not at all with 0.
// HOOK is its address; the last document that it got is in hook.json.
func startHook(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	file := ts.MkAbs("hook.json")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if os.WriteFile(file, body, 0o600) != nil || code == 0 {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(code)
	}))
	ts.Defer(server.Close)
	ts.Setenv("HOOK", server.URL+"/T0KEN")
}
