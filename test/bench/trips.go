//go:build linux

package main

import (
	"fmt"
	"net"
	"time"

	"github.com/aoifleet/aoifleet/test/bench/table"
	"github.com/aoifleet/aoifleet/test/distance"
)

// roundTrip is the round-trip time of the host whose trips are counted.
const roundTrip = 100 * time.Millisecond

// trips rotates one VM of the lab through a forwarder and prints the number of
// changes of direction.
func trips(program, dir string) error {
	link := &distance.Link{Delay: roundTrip / 2}
	path, done, err := table.Behind(dir, func(listener net.Listener, address string) error {
		link.Dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
		link.Serve(listener)
		return nil
	})
	if err != nil {
		return err
	}
	took, _, err := timed(program, "rotate", path)
	if err := done(err); err != nil {
		return err
	}
	fmt.Printf("\none rotation at %s round trip: %.2f s, %d changes of direction on the wire\n", roundTrip, took.Seconds(), link.Turns())
	return nil
}
