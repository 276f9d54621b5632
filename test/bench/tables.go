//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/test/bench/table"
)

// tables measures the client alone: against servers in another process
// that replay the recorded answers of one VM of the lab.
func tables(program, labDir, sizes string, parallel int) error {
	f := table.Fleet{Dir: filepath.Join(labDir, "table")}
	key, err := f.Record(labDir, func(inventory string) error {
		_, _, err := timed(program, "rotate", inventory)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("\nservers that answer from a table, parallel %d\n%-8s %10s %10s %8s %12s %14s %16s %14s\n",
		parallel, "hosts", "bare s", "plan s", "ratio", "rotate s", "plan peak MB", "rotate peak MB", "CPU ms, plan")
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		if err := measureTable(f, program, labDir, n, parallel, key); err != nil {
			return err
		}
	}
	return nil
}

func measureTable(f table.Fleet, program, labDir string, n, parallel int, key ssh.Signer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	port, wait, err := f.Start(ctx, n)
	if err != nil {
		return err
	}
	path, err := tableInventory(f, labDir, n, parallel, port, key)
	if err != nil {
		return err
	}
	bare, err := bareLoop(labDir, n, parallel, port, key)
	if err != nil {
		return err
	}
	plan, planned, err := timed(program, "plan", path)
	if err != nil {
		return err
	}
	rotate, rotated, err := timed(program, "rotate", path)
	if err != nil {
		return err
	}
	cpu := time.Duration(planned.Utime.Nano() + planned.Stime.Nano())
	fmt.Printf("%-8d %10.2f %10.2f %8.2f %12.2f %14.1f %16.1f %14.2f\n", n, bare.Seconds(), plan.Seconds(), plan.Seconds()/bare.Seconds(),
		rotate.Seconds(), float64(planned.Maxrss)/1024, float64(rotated.Maxrss)/1024, float64(cpu.Microseconds())/1000/float64(n))
	stop()
	_ = wait() // the process was killed
	return nil
}

// tableInventory writes an inventory of n hosts, with a line of known_hosts for each, like a real fleet.
func tableInventory(f table.Fleet, labDir string, n, parallel int, port string, key ssh.Signer) (string, error) {
	var hosts strings.Builder
	for i := range n {
		fmt.Fprintf(&hosts, "  vm-%05d: {address: %s}\n", i+1, table.Address(i))
	}
	text := fmt.Sprintf("version: 1\ndefaults:\n  user: azureuser\n  port: %s\n  identity_file: %s\n  known_hosts: %s\n  certificate: %s\n  health: {window: 0s}\n"+
		"rollout: {parallel: %d, canary: 0, batch: 100%%, connect_rate: 10000}\nhosts:\n%s", port, filepath.Join(labDir, "id_ed25519"),
		filepath.Join(f.Dir, "known_hosts"), filepath.Join(labDir, "certs", "new.p12.b64"), parallel, hosts.String())
	path := filepath.Join(f.Dir, "inventory.yaml")
	known := []byte(table.KnownHosts(0, n, port, key))
	if err := os.WriteFile(filepath.Join(f.Dir, "known_hosts"), known, 0o600); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// bareLoop measures the minimum of a client: dial, and run one command.
func bareLoop(labDir string, n, parallel int, port string, key ssh.Signer) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(labDir, "id_ed25519"))
	if err != nil {
		return 0, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return 0, err
	}
	config := &ssh.ClientConfig{User: "azureuser", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key.PublicKey())}
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			client, err := ssh.Dial("tcp", net.JoinHostPort(table.Address(i), port), config)
			if err != nil {
				return err
			}
			defer client.Close()
			session, err := client.NewSession()
			if err != nil {
				return err
			}
			return session.Run("true")
		})
	}
	err = group.Wait()
	return time.Since(began), err
}
