//go:build unix

package localfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Exposed judges as ssh-keygen does: any bit of group or others, of a file of the user.
func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := range fs.FileMode(0o1000) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		want := mode
		if mode&0o077 == 0 {
			want = 0
		}
		if got := Exposed(path); got != want {
			t.Errorf("mode %04o: %04o", mode, got)
		}
	}
	for _, other := range []string{os.DevNull, "/no/such/file", t.TempDir(), "/dev/stdin"} {
		if got := Exposed(other); got != 0 {
			t.Errorf("%s: %04o", other, got)
		}
	}
}
