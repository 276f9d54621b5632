package main

import (
	"fmt"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/newcert"
)

type packFlags struct {
	cert, key, out string
	force          bool
}

func runPack(call *invocation, flags packFlags) error {
	if flags.cert == "" || flags.key == "" || flags.out == "" {
		return usage("pack needs --cert, --key and --out", "aoifleet certificate pack --cert C.pem --key K.pem --out FILE")
	}
	if err := newcert.CheckOut(flags.out, flags.force, flags.cert, flags.key); err != nil {
		return err
	}
	c, err := certificate.PackFiles(flags.cert, flags.key, time.Now())
	if err != nil {
		return err
	}
	return writeP12(call, flags.out, c, flags.force)
}

// writeP12 writes the agent's file.
func writeP12(call *invocation, path string, c *certificate.Certificate, force bool) error {
	call.signals.heed() // a half-written key must not remain
	if err := newcert.Write([]newcert.File{{Path: path, Data: c.Canonical(), Mode: 0o600}}, force); err != nil {
		return usage("cannot write "+path+": "+err.Error(), "use --out with a file in a folder that you can write to")
	}
	fmt.Fprintf(call.stderr, "wrote %s: %s, thumbprint %s\n", display.MaskLines(path), c.Leaf.Subject, c.Leaf.Thumbprint)
	for _, note := range c.Notes {
		fmt.Fprintf(call.stderr, "note: %s\n", note)
	}
	return nil
}
