package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/notify"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// readHook reads the address to which the result goes, before any host is contacted, so that what
// is wrong with it is known early. It takes at most notify.Limit, and fails no run.
func (f *Fleet) readHook(ctx context.Context) {
	if f.Inventory.Notify == (secretsource.Source{}) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, notify.Limit)
	defer cancel()
	own := secret.NewResolver(ctx, nil, f.caller.Getenv) // of which the command ends with ctx
	own.OnRead(display.Hide)
	hook, err := own.Get(ctx, f.Inventory.Notify, "notify.url_from")
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("notify.url_from: no answer within %v", notify.Limit)
	}
	if err == nil {
		if err = notify.Check(hook.Reveal()); err != nil {
			err = fmt.Errorf("notify.url_from: %w", err)
		}
	}
	if err != nil {
		f.notSent(err)
		return
	}
	f.hook = hook
}

// Notify posts the result of the run, which write writes, if the inventory wants that. It takes
// at most notify.Limit. A failure is a warning, also in the journal.
func (f *Fleet) Notify(ctx context.Context, write func(io.Writer) error) {
	address := f.hook.Reveal()
	if address == "" {
		return
	}
	var document bytes.Buffer
	err := write(&document)
	if err == nil {
		err = notify.Post(ctx, f.Inventory.Azure, f.caller.Azure, address, "aoifleet/"+f.caller.Version, document.Bytes())
	}
	if err != nil {
		f.notSent(fmt.Errorf("notify.url_from: %w", err))
	}
}

func (f *Fleet) notSent(err error) {
	message := "the result is not sent: " + err.Error()
	f.caller.Say("warning: " + message)
	f.record.append(journal.Entry{Event: journal.Notify, Message: message})
}
