//go:build e2e && linux

package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An interrupted creation leaves no root file system.
func TestInterruptedMakeLeavesNoHalfCache(t *testing.T) {
	options := smallFleet(t)
	options.Cache = t.TempDir()
	base := filepath.Join(options.Cache, "bookworm-"+recipeKey())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := Boot(ctx, options)
		ended <- err
	}()
	eventually(t, func() string { return readTail(base + ".log") }, func() bool {
		_, err := os.Stat(base + ".new/debootstrap/debootstrap.log")
		return err == nil
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("booted from half a root file system")
	}
	if _, err := os.Stat(base); err == nil {
		t.Error("half a root file system in the cache")
	}
	var left []string
	eventually(t, func() string { return strings.Join(left, " ") }, func() bool {
		left = processes(options.Cache)
		return len(left) == 0
	})
	if mounted, err := mountedBelow(options.Cache); err != nil || mounted {
		t.Errorf("mounted below the cache: %t, %v", mounted, err)
	}
}

func TestReleaseThatNoArchiveHas(t *testing.T) {
	options := smallFleet(t)
	options.Cache = t.TempDir()
	options.Hosts = []Spec{{Name: "london-1", Release: "nosuchrelease"}}
	_, err := Boot(t.Context(), options)
	if err == nil || !strings.Contains(err.Error(), "no archive that apt is configured with has nosuchrelease") {
		t.Errorf("got %v", err)
	}
}

// An overlay can't be the upper layer of an overlay, so the root is copied.
func TestCopyWhereNoOverlayCanBe(t *testing.T) {
	if err := checkMachine(); err != nil {
		t.Fatal(err)
	}
	below := t.TempDir()
	dir := filepath.Join(below, "merged")
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(below, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	layers := "lowerdir=" + below + "/lower,upperdir=" + below + "/upper,workdir=" + below + "/work"
	if err := syscall.Mount("overlay", dir, "overlay", 0, layers); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	options := smallFleet(t)
	options.Dir = dir
	f, err := Boot(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if mounted, err := mountedBelow(f.Dir); err != nil || mounted {
		t.Errorf("an overlay on an overlay: this test proves nothing (%v)", err)
	}
	for _, h := range f.Hosts {
		if out, err := h.Shell(t.Context(), "stat -c %a /usr/bin/sudo; stat -c %U /home/azureuser"); err != nil || out != "4755\nazureuser\n" {
			t.Errorf("%s: the copy has lost its modes: %q, %v", h.Name, out, err)
		}
	}
	if err := errors.Join(f.Close()); err != nil {
		t.Error(err)
	}
	checkNothingLeft(t, f.Netns)
}
