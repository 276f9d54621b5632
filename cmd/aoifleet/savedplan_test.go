//go:build linux

package main

import (
	"encoding/json"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aoifleet/aoifleet/internal/planfile"
)

// reseal: reseal FILE gives an edited plan the digest of its new content, as an editor can.
func reseal(ts *testscript.TestScript, _ bool, args []string) {
	var p planfile.Plan
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &p))
	ts.Check(planfile.Write(ts.MkAbs(args[0]), &p))
}

// planIDOf: planid NAME FILE puts the id of a saved plan into a variable.
func planIDOf(ts *testscript.TestScript, _ bool, args []string) {
	p, err := planfile.Read(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Setenv(args[0], p.ID())
}
