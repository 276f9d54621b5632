//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a process that runs until the bench ends.
type program struct {
	cmd   *exec.Cmd
	log   *os.File
	head  []byte
	ready chan string   // the first line that it prints: it is ready
	ended chan struct{} // closed when it has ended
}

// Write implements io.Writer for what the program prints.
func (p *program) Write(text []byte) (int, error) {
	if p.head != nil {
		p.head = append(p.head, text...)
		if line, _, whole := bytes.Cut(p.head, []byte("\n")); whole {
			p.ready <- string(line)
			p.head = nil
		}
	}
	return p.log.Write(text)
}

// launch starts a program and waits until it is ready. The bench fails if it ends before.
func (b *bench) launch(ctx context.Context, name string, argv ...string) (said string, err error) {
	folder := filepath.Join(b.dir, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	p := &program{cmd: exec.Command(argv[0], argv[1:]...), head: []byte{},
		ready: make(chan string, 1), ended: make(chan struct{})}
	if p.log, err = os.Create(filepath.Join(folder, "log")); err != nil {
		return "", err
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = folder, p, p
	p.cmd.Env = []string{"HOME=" + folder, "PATH=" + os.Getenv("PATH")}
	// ^C is for the bench, which ends its programs in order; if it can't, they end with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return "", err
	}
	b.programs[name] = p
	go func() {
		err := p.cmd.Wait()
		b.failed(fmt.Errorf("%s has ended: %w: …%s", name, err, tail(p.log.Name())))
		close(p.ended)
	}()
	select {
	case said = <-p.ready:
		return said, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-time.After(time.Minute):
		return "", fmt.Errorf("%s is not ready: …%s", name, tail(p.log.Name()))
	}
}

// tail returns the end of a file.
func tail(path string) string {
	text, _ := os.ReadFile(path) // what it says is only shown
	return string(text[max(0, len(text)-2000):])
}

// kill ends all programs.
func (b *bench) kill() {
	for _, p := range b.programs {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
		_ = p.log.Close()
	}
}

// usage is what a process has used.
type usage struct {
	cpu  time.Duration
	peak float64 // of its memory, in MB
}

// tick is the unit of the times in /proc.
const tick = 10 * time.Millisecond

// used returns what a process has used so far; false: it has ended.
func used(pid int) (u usage, lives bool) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return u, false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after) // from the third of proc(5) on
	for _, n := range []int{11, 12} {
		ticks, _ := strconv.Atoi(fields[n])
		u.cpu += time.Duration(ticks) * tick
	}
	status, _ := os.ReadFile(filepath.Join(proc, "status"))
	if _, after, found := strings.Cut(string(status), "VmHWM:"); found {
		kilobytes, _ := strconv.Atoi(strings.Fields(after)[0])
		u.peak = float64(kilobytes) / 1024
	}
	return u, u.peak > 0
}

// children returns the processes that a process has started.
func children(pid int) (list []int) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread may have ended
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}
