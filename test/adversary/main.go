//go:build linux

// Command adversary attacks the program on a host, with the rights of the agent's user
// or the login user. It replaces files that the program is about to use, and logs
// each replacement on a line.
//
//	adversary swap  -name WORD -path PATH [-pattern GLOB] …  swaps names repeatedly
//	adversary stage -home DIR -with KIND …                   replaces a staged certificate
//	adversary grab  -match TEXT …                            copies descriptors of its user's processes
//
// Each runs until the file of -until exists.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if err := attack(args, stdout); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

func attack(args []string, log io.Writer) error {
	if len(args) == 0 {
		return errors.New("swap, stage or grab")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	until := flags.String("until", "", "end when this `FILE` exists")
	s := &swapper{log: log}
	flags.StringVar(&s.name, "name", "", "`NAME` of the swaps in the log")
	flags.StringVar(&s.path, "path", "", "`PATH` to swap; with -pattern its folder")
	flags.StringVar(&s.pattern, "pattern", "", "swap files that match `GLOB` while they exist")
	flags.StringVar(&s.hide, "hide", "", "own `FOLDER` on the same file system")
	links := flags.String("links", "", "targets of links, separated by commas")
	home := flags.String("home", "", "`FOLDER` of the login user's staging folders")
	with := flags.String("with", "", "link or fifo")
	match := flags.String("match", "", "part of the path of the descriptors to grab; default: all pipes")
	keep := flags.Bool("keep", false, "keep grabbed descriptors open until the end")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	stopped := func() bool {
		_, err := os.Stat(*until)
		return err == nil
	}
	switch args[0] {
	case "swap":
		s.links = split(*links)
		return s.run(stopped)
	case "stage":
		return replaceStaged(*home, *with, *links, log, stopped)
	case "grab":
		return grab(*match, *keep, log, stopped)
	}
	return fmt.Errorf("unknown attack %q", args[0])
}

// pause returns the time that the nth bait stays: mostly shorter than a command of a
// script, sometimes longer than several.
func pause(n int) time.Duration {
	return []time.Duration{0, 300, 1200, 80_000, 2700, 0, 20_000, 600, 120_000, 5000}[n%10] * time.Microsecond
}
