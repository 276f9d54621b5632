//go:build linux

package fleet

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

//go:embed rootfs.sh
var rootfsScript []byte

// rootFileSystems returns the directory of every release of the hosts,
// and creates those that are not in the cache.
func rootFileSystems(ctx context.Context, o Options) (map[string]string, error) {
	if err := os.MkdirAll(o.Cache, 0o700); err != nil {
		return nil, err
	}
	bases := map[string]string{}
	for _, spec := range o.Hosts {
		bases[spec.Release] = filepath.Join(o.Cache, spec.Release+"-"+recipeKey())
	}
	var group sync.WaitGroup
	failures := make(chan error, len(bases))
	for release, base := range bases {
		group.Go(func() { failures <- makeRoot(ctx, o, release, base) })
	}
	group.Wait()
	close(failures)
	var all error
	for err := range failures {
		all = errors.Join(all, err)
	}
	return bases, all
}

// recipeKey identifies the script version that creates a root file system.
func recipeKey() string {
	sum := sha256.Sum256(rootfsScript)
	return hex.EncodeToString(sum[:6])
}

// makeRoot runs the script, unless its result exists. The script itself holds the
// lock: if this process dies, other processes still wait for the script.
func makeRoot(ctx context.Context, o Options, release, base string) error {
	if _, err := os.Stat(base); err == nil {
		return nil
	}
	fmt.Fprintf(o.Log, "making the root file system of %s in %s: once, about 80 s\n", release, o.Cache)
	began := time.Now()
	log, err := os.OpenFile(base+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	// --no-fork: the lock, and with --kill-child the script, end with this one process.
	args := []string{"--no-fork", base + ".lock",
		"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"/bin/sh", "-c", string(rootfsScript), "rootfs.sh", release, base}
	cmd := exec.CommandContext(ctx, "flock", append(args, o.Mirrors...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make the root file system of %s: %w: %s", release, err, readTail(base+".log"))
	}
	fmt.Fprintf(o.Log, "made the root file system of %s in %.0f s\n", release, time.Since(began).Seconds())
	return nil
}

// mountRoot gives a host its own writable view of a root file system: an
// overlay, or a copy if the file system of dir does not support one.
func (s *session) mountRoot(ctx context.Context, base, dir, root string) error {
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, path := range []string{upper, work, root} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", base, upper, work)
	err := syscall.Mount("overlay", root, "overlay", 0, layers)
	if err == nil {
		return nil
	}
	if err := s.run(ctx, "cp", "--archive", "--reflink=auto", base+"/.", root); err != nil {
		return fmt.Errorf("copy the root file system, since an overlay can't be mounted: %w", err)
	}
	return nil
}

// copyFile copies a program or a file of any size.
func copyFile(from, to string, mode os.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Chmod(mode), target.Close())
}
