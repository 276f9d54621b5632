package main

import (
	"runtime/debug"
	"testing"
)

func TestModuleVersion(t *testing.T) {
	for want, info := range map[string]*debug.BuildInfo{
		"": nil, "v1.2.3": {Main: debug.Module{Version: "v1.2.3"}},
	} {
		if got := moduleVersion(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := moduleVersion(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}); got != "" {
		t.Errorf("%q", got)
	}
}
