package main

import (
	"os/exec"
	"regexp"
	"testing"
)

// ofDev are packages that only dev needs.
var ofDev = regexp.MustCompile(`(?m)^(go\.temporal\.io/server|` +
	`github\.com/aoifleet/aoifleet/(internal/lab|engine/internal/dev)).*$`)

// The program without dev contains nothing of a Temporal server or of simulated VMs.
func TestWithoutDev(t *testing.T) {
	list := func(flags ...string) []string {
		out, err := exec.Command("go", append([]string{"list", "-deps"}, flags...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return ofDev.FindAllString(string(out), -1)
	}
	if found := list("-tags=nodev"); len(found) > 0 {
		t.Errorf("it contains %q", found)
	}
	if len(list()) < 100 {
		t.Error("the program with dev does not contain what this test looks for")
	}
}
