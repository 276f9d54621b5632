//go:build linux

// Command bench measures the built program against the lab in another process:
// rotations per second, the client's CPU and peak memory for several sizes of
// fleet, and the changes of direction on the wire in one rotation; and against
// servers that replay recorded answers, where only the client uses CPU.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aoifleet/aoifleet/test/bench/table"
)

func main() {
	program := flag.String("program", "dist/aoifleet", "the built program")
	sizes := flag.String("sizes", "100,1000", "sizes of the lab")
	parallel := flag.Int("parallel", 50, "rollout.parallel in the lab")
	tableSizes := flag.String("table-sizes", "1000,10000", "sizes of the fleet that answers from a table")
	tableParallel := flag.Int("table-parallel", 200, "rollout.parallel against the table")
	serving := flag.String("serve", "", "be the servers of the table in `DIR`")
	hosts := flag.Int("hosts", 0, "how many servers")
	flag.Parse()
	err := error(nil)
	if *serving != "" {
		err = table.Fleet{Dir: *serving}.Serve(*hosts)
	} else {
		err = bench(*program, *sizes, *parallel, *tableSizes, *tableParallel)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func bench(program, sizes string, parallel int, tableSizes string, tableParallel int) error {
	fmt.Printf("%-10s %-8s %10s %14s %18s %12s\n", "verb", "VMs", "wall s", "VMs a second", "client CPU ms/VM", "peak MB")
	for _, size := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		if err := table.InLab(program, n, func(dir string) error { return measure(program, dir, n, parallel) }); err != nil {
			return err
		}
	}
	if err := table.InLab(program, 1, func(dir string) error { return trips(program, dir) }); err != nil {
		return err
	}
	return table.InLab(program, 1, func(dir string) error { return tables(program, dir, tableSizes, tableParallel) })
}

func measure(program, dir string, n, parallel int) error {
	path, err := table.Inventory(dir, parallel)
	if err != nil {
		return err
	}
	for _, verb := range []string{"plan", "rotate"} {
		took, usage, err := timed(program, verb, path)
		if err != nil {
			return err
		}
		cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		fmt.Printf("%-10s %-8d %10.2f %14.1f %18.2f %12.1f\n", verb, n, took.Seconds(), float64(n)/took.Seconds(),
			float64(cpu.Microseconds())/1000/float64(n), float64(usage.Maxrss)/1024)
	}
	return nil
}

// timed runs a verb and returns its wall time and the kernel's resource usage.
func timed(program, verb, inventory string) (time.Duration, *syscall.Rusage, error) {
	args := []string{verb, "-i", inventory, "--skip-verify", "-o", "json"}
	if verb == "rotate" {
		args = append(args, "--yes")
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Dir(inventory))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		output := complaint.String()
		return 0, nil, fmt.Errorf("%s: %w: …%s", verb, err, output[max(0, len(output)-2000):])
	}
	return took, cmd.ProcessState.SysUsage().(*syscall.Rusage), nil
}
