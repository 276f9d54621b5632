//go:build linux

// Command adversary is what the tests run on a host as a user who wants more
// than is theirs: the agent's, or the one who logs in. It puts something else in
// the place of what the program is about to use, and says so, a line each time.
//
//	adversary swap  -name WORD -path PATH [-pattern GLOB] …  names, over and over
//	adversary stage -home DIR -with KIND …                   a staged certificate, for good
//	adversary grab  -match TEXT …                            descriptors of its user's processes
//
// Each runs until the file of -until is there.
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
	until := flags.String("until", "", "the end, when this file is there")
	s := &swapper{log: log}
	flags.StringVar(&s.name, "name", "", "what the swaps are called in the log")
	flags.StringVar(&s.path, "path", "", "what is swapped; with -pattern the folder")
	flags.StringVar(&s.pattern, "pattern", "", "swap what has a name like this, for as long as it is there")
	flags.StringVar(&s.hide, "hide", "", "a folder of the adversary's own on the same file system")
	links := flags.String("links", "", "where links lead, with commas between")
	home := flags.String("home", "", "where the login user's staging folders are")
	with := flags.String("with", "", "link or fifo")
	match := flags.String("match", "", "part of the path of the descriptors that are grabbed; with none all pipes")
	keep := flags.Bool("keep", false, "keep what was grabbed open until the end")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	over := func() bool {
		_, err := os.Stat(*until)
		return err == nil
	}
	switch args[0] {
	case "swap":
		s.links = split(*links)
		return s.run(over)
	case "stage":
		return replaceStaged(*home, *with, *links, log, over)
	case "grab":
		return grab(*match, *keep, log, over)
	}
	return fmt.Errorf("unknown attack %q", args[0])
}

// pause is for how long the nth bait stays: mostly shorter than a command of a
// script takes, sometimes longer than several.
func pause(n int) time.Duration {
	return []time.Duration{0, 300, 1200, 80_000, 2700, 0, 20_000, 600, 120_000, 5000}[n%10] * time.Microsecond
}
