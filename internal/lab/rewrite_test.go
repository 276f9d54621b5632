package lab

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

const testBlock = "PATH=/lab/bin\nROOT=/lab/root\n"

// rewriteWhole is the rewriter's specification: it works on the whole text, line by line.
func rewriteWhole(text string) string {
	var out strings.Builder
	skipping := false
	for line := range strings.Lines(text) {
		switch {
		case !skipping && line == machineBegin:
			out.WriteString(line + testBlock)
			skipping = true
		case skipping && line == machineEnd:
			out.WriteString(line)
			skipping = false
		case !skipping:
			out.WriteString(line)
		}
	}
	return out.String()
}

func rewriteInChunks(t *testing.T, text string, size int) string {
	t.Helper()
	var out bytes.Buffer
	r := &rewriter{out: &out, block: testBlock}
	for rest := []byte(text); len(rest) > 0; {
		n := min(size, len(rest))
		if got, err := r.Write(rest[:n]); got != n || err != nil {
			t.Fatalf("Write = %d, %v", got, err)
		}
		rest = rest[n:]
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func script(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestRewrite(t *testing.T) {
	block := machineBegin + "PATH=/bin\nROOT=\n" + machineEnd
	mine := machineBegin + testBlock + machineEnd
	tests := map[string][2]string{
		"no block":           {"echo a\n", "echo a\n"},
		"no last newline":    {"echo a", "echo a"},
		"a block":            {"#!/bin/sh\n" + block + "main\n", "#!/bin/sh\n" + mine + "main\n"},
		"two blocks":         {block + "x\n" + block + "y\n", mine + "x\n" + mine + "y\n"},
		"carried, then run":  {"self='\n" + block + "main\n'\neval \"$self\"\n", "self='\n" + mine + "main\n'\neval \"$self\"\n"},
		"carried and again":  {"self='\n" + block + "x\n'\n" + block + "x\n", "self='\n" + mine + "x\n'\n" + mine + "x\n"},
		"block first":        {block, mine},
		"indented":           {" " + block, " " + block},
		"longer line":        {"# --- machine ---x\nROOT=\n", "# --- machine ---x\nROOT=\n"},
		"almost":             {"# --- machinery ---\n# --- m\n", "# --- machinery ---\n# --- m\n"},
		"ends in a marker":   {"a\n# --- machine ---", "a\n# --- machine ---"},
		"ends in the block":  {machineBegin + "secret\n", machineBegin + testBlock},
		"end without begin":  {machineEnd + "a\n", machineEnd + "a\n"},
		"marker in block":    {machineBegin + machineBegin + machineEnd + "a\n", mine + "a\n"},
		"marker after start": {"# # --- machine ---\na\n", "# # --- machine ---\na\n"},
		"bytes":              {"\x00\xff\n" + block, "\x00\xff\n" + mine},
	}
	for name, tt := range tests {
		if want := rewriteWhole(tt[0]); want != tt[1] {
			t.Errorf("%s: the specification gives %q, want %q", name, want, tt[1])
		}
		for size := 1; size <= len(tt[0]); size++ {
			if got := rewriteInChunks(t, tt[0], size); got != tt[1] {
				t.Fatalf("%s in chunks of %d: %q, want %q", name, size, got, tt[1])
			}
		}
	}
}

// A line that can't be a marker passes before its end, because the client waits for
// an answer to it.
func TestRewriteHoldsNothingBack(t *testing.T) {
	var out bytes.Buffer
	r := &rewriter{out: &out, block: testBlock}
	for _, text := range []string{"con", "firm", " RUN\n", "#!", "# --- x"} {
		out.Reset()
		if _, err := io.WriteString(r, text); err != nil || out.String() != text {
			t.Fatalf("wrote %q, passed on %q, %v", text, out.String(), err)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add(machineBegin+"a\n"+machineEnd+"b\n", 3)
	f.Add("# --- # --- machine ---\n"+machineBegin, 1)
	f.Add(script("a", "# --- end machine ---", "# --- machine ---", "b"), 7)
	f.Fuzz(func(t *testing.T, text string, size int) {
		if size <= 0 {
			size = 1
		}
		if got, want := rewriteInChunks(t, text, size), rewriteWhole(text); got != want {
			t.Fatalf("in chunks of %d: %q, want %q", size, got, want)
		}
	})
}
