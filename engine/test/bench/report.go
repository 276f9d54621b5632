//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What a server allows one workflow by default.
const (
	mostEvents  = 50 * 1024
	mostBytes   = 50 << 20
	mostSignals = 10000
)

// report is what was measured: some of the sites with an engine, all with it, and all without one.
type report struct{ some, whole, direct rolled }

// line prints a line of a table.
func line(name string, cells ...string) {
	fmt.Printf("%-36s", name)
	for _, cell := range cells {
		fmt.Printf(" %13s", cell)
	}
	fmt.Println()
}

func number(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

func per[T int | int64](a, b T) float64 { return float64(a) / float64(max(b, 1)) }

// histories prints the sizes of the histories of a rotation.
func (r rolled) histories() {
	fmt.Println()
	line(fmt.Sprintf("measured: %d hosts", r.hosts), "workflows", "events", "most", "a host", "KB", "most", "B a host")
	row := func(name string, list ...history) {
		all, most := sum(list)
		line(name, strconv.Itoa(len(list)),
			number(per(all.events, len(list)), 0), strconv.Itoa(most.events), number(per(all.events, r.hosts), 2),
			number(per(all.bytes, len(list))/1024, 1), number(float64(most.bytes)/1024, 1), number(per(all.bytes, r.hosts), 0))
	}
	row("rollout", r.flows.rollout)
	row("parts", r.flows.parts...)
	row("surveys, of plan and of rotate", r.flows.surveys...)
	line("activities a host", number(per(r.flows.tasks, r.hosts), 2))
	line("tasks late, failed or tried again", strconv.Itoa(r.flows.again))
	line("signals to the rollout", strconv.Itoa(r.flows.signals))
	line("database, B a host", number(per(r.stored, int64(r.hosts)), 0))
}

func (b *bench) print(r report) {
	load, _ := os.ReadFile("/proc/loadavg") // it is only shown
	fmt.Printf("\n%d hosts on %d sites, parallel %d, waves of %s; %d cores; load at the end %.4s\n",
		b.hosts, b.sites, b.parallel, b.batch, runtime.NumCPU(), load)
	r.times()
	r.programs()
	r.arithmetic(10*b.hosts, 10*b.sites)
}

func (r report) times() {
	fmt.Println()
	line("measured: time", "hosts", "plan, s", "rotate, s", "hosts a s")
	row := func(name string, of rolled) {
		plan, rotate := of.plan.wall.Seconds(), of.rotate.wall.Seconds()
		line(name, strconv.Itoa(of.hosts), number(plan, 1), number(rotate, 1), number(float64(of.hosts)/rotate, 1))
	}
	row("with an engine", r.some)
	row("with an engine", r.whole)
	if r.direct.hosts > 0 {
		row("without one", r.direct)
		line("ratio", "", ratio(r.whole.plan, r.direct.plan), ratio(r.whole.rotate, r.direct.rotate))
	}
}

func ratio(a, b cost) string { return number(a.wall.Seconds()/b.wall.Seconds(), 2) }

// cpu returns what a program has used in a rotation and its plan.
func (r rolled) cpu(name string) time.Duration { return r.after[name].cpu - r.before[name].cpu }

// workers returns what those of the sites have used together, and the largest memory of one.
func (r rolled) workers() (u usage) {
	for name := range r.after {
		if strings.HasPrefix(name, sitePrefix) {
			u.cpu += r.cpu(name)
			u.peak = max(u.peak, r.after[name].peak)
		}
	}
	return u
}

// programs prints the peak of the memory after each rotation, and the CPU of that of all hosts.
func (r report) programs() {
	fmt.Println()
	at := func(of rolled) string { return fmt.Sprintf("MB at %d", of.hosts) }
	line("measured: programs", at(r.some), at(r.whole), "CPU, s", "CPU ms a host")
	row := func(name string, some float64, whole usage) {
		s := whole.cpu.Seconds()
		line(name, number(some, 1), number(whole.peak, 1), number(s, 1), number(s*1000/float64(r.whole.hosts), 2))
	}
	for _, name := range []string{theServer, control, theHosts} {
		row(name, r.some.after[name].peak, usage{r.whole.cpu(name), r.whole.after[name].peak})
	}
	row("workers: the largest; CPU of all", r.some.workers().peak, r.whole.workers())
	row("aoifleet plan", r.some.plan.client.peak, r.whole.plan.client)
	row("aoifleet rotate", r.some.rotate.client.peak, r.whole.rotate.client)
	row("aoifleet-engine talk of rotate", r.some.rotate.talk.peak, r.whole.rotate.talk)
	if r.direct.hosts > 0 {
		row("aoifleet rotate without an engine", 0, r.direct.rotate.client)
	}
}

// grow returns the value at x of the line through two points, and its slope.
func grow(x1, y1, x2, y2, x int) (at int, slope float64) {
	slope = float64(y2-y1) / float64(x2-x1)
	return y2 + int(slope*float64(x-x2)), slope
}

// arithmetic prints what a larger fleet would take of a server's limits, if it grows along the line
// through the two rotations that were measured.
func (r report) arithmetic(hosts, sites int) {
	a, z := r.some.flows, r.whole.flows
	if len(a.parts) == len(z.parts) {
		fmt.Println("\nno arithmetic: both rotations have the same number of parts")
		return
	}
	parts := (hosts*len(z.parts) + r.whole.hosts - 1) / r.whole.hosts
	events, eventsPer := grow(len(a.parts), a.rollout.events, len(z.parts), z.rollout.events, parts)
	signals, signalsPer := grow(len(a.parts), a.signals, len(z.parts), z.signals, parts)
	size, sizePer := grow(r.some.hosts, a.rollout.bytes, r.whole.hosts, z.rollout.bytes, hosts)
	unalike := per(z.unalike, r.whole.hosts)
	_, most := sum(z.parts)
	fmt.Printf("\nby arithmetic, not measured: %d hosts on %d sites, %d parts\n", hosts, sites, parts)
	line("one workflow", "value", "limit", "of it")
	row := func(what string, value, limit int, why string) {
		line(what, strconv.Itoa(value), strconv.Itoa(limit), number(100*per(value, limit), 1)+" %", why)
	}
	row("events of the rollout", events, mostEvents, fmt.Sprintf("%.1f a part", eventsPer))
	row("signals to the rollout", signals, mostSignals, fmt.Sprintf("%.1f a part", signalsPer))
	row("bytes of the rollout", size, mostBytes, fmt.Sprintf("%.0f a host", sizePer))
	row("the same with unlike hosts", int(2*unalike*float64(hosts)), mostBytes, fmt.Sprintf("2 x %.0f a host", unalike))
	row("events of the largest part", most.events, mostEvents, "as measured")
	row("bytes of the largest part", most.bytes, mostBytes, "as measured")
	times := float64(hosts) / float64(r.whole.hosts)
	line("all programs", "CPU, s", "MB")
	for _, name := range []string{theServer, control} {
		peak, _ := grow(r.some.hosts, int(r.some.after[name].peak), r.whole.hosts, int(r.whole.after[name].peak), hosts)
		line(name, number(times*r.whole.cpu(name).Seconds(), 0), strconv.Itoa(peak))
	}
	line("the server's database", "", number(times*float64(r.whole.stored)/1e6, 0))
	line("rotate with the same parallel, s", number(times*r.whole.rotate.wall.Seconds(), 0))
}
