package fleet

import (
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// NewSecret is the new value of a secret that the agents read from a file.
type NewSecret struct {
	Name string
	// From is the source of the value; {name} in a file or command is the host's name.
	From  secretsource.Source
	Stdin io.Reader // if not nil, instead of From
	// Passphrase is the source of the passphrase of a private key, whose secret is set too;
	// the zero value: it stays.
	Passphrase secretsource.Source
}

// secretValue is the new value for a host.
type secretValue struct{ text, passphrase string }

// mostSecretName is the longest name of a file (NAME_MAX in limits.h(0p)).
const mostSecretName = 255

// Check returns an error if the name can't be that of a file.
func (s *NewSecret) Check() error {
	if n := s.Name; n == "" || n == "." || n == ".." || strings.Contains(n, "/") || len(n) > mostSecretName || display.Plain(n, mostSecretName) != n {
		return usage("a secret's name is that of a file, not "+display.Quote(n, 60), "the names are in the agent's configuration: secret_name, key_secret_name, passphrase_secret_name")
	}
	return nil
}

// readSecrets reads the new values for all targets, before any host is contacted, and has the
// hosts' files compared with them.
func (f *Fleet) readSecrets(ctx context.Context) error {
	s := f.request.Secret
	if s == nil {
		return nil
	}
	values := make([]secretValue, len(f.Targets))
	common, err := f.readCommon(ctx, s)
	if err != nil {
		return err
	}
	var reads errgroup.Group
	reads.SetLimit(readsAtOnce)
	for i, t := range f.Targets {
		reads.Go(func() (err error) {
			values[i].text = common
			if common == "" {
				values[i].text, err = f.secretFor(ctx, s.From, "secret "+s.Name, t.Host.Name)
			}
			if err == nil && s.Passphrase != (secretsource.Source{}) {
				values[i].passphrase, err = f.secretFor(ctx, s.Passphrase, "passphrase of "+s.Name, t.Host.Name)
			}
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return err
	}
	byHost := make(map[string]secretValue, len(values))
	for i, t := range f.Targets {
		byHost[t.Host.Name] = values[i]
	}
	f.runner.Want = func(t *rollout.Target, seen *host.Observation) { wantSecret(t, seen, s, byHost[t.Host.Name]) }
	return nil
}

// readsAtOnce bounds the commands that run at the same time.
const readsAtOnce = 8

// readCommon returns the value that is typed or read from standard input; "": from neither.
func (f *Fleet) readCommon(ctx context.Context, s *NewSecret) (text string, err error) {
	switch {
	case s.Stdin != nil:
		data, err := io.ReadAll(io.LimitReader(s.Stdin, secret.MaxFile+1))
		if err != nil {
			return "", usage("can't read standard input", "")
		}
		text = string(data)
	case s.From.Ask && f.caller.ReadSecret == nil:
		return "", usage("can't prompt for the value: stdin is not a terminal", "name its source: --from-file FILE, --from-command COMMAND, or --from-file - for standard input")
	case s.From.Ask:
		what := "secret " + s.Name
		first, err1 := f.caller.ReadSecret(what + ": ")
		again, err2 := f.caller.ReadSecret(what + ", again: ")
		switch err := cmp.Or(err1, err2); {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			return "", usage("can't read from the terminal", "")
		}
		if first != again {
			return "", usage("the two values differ", "type it again, or name a file: --from-file FILE")
		}
		text = first
	default:
		return "", nil
	}
	if p := secret.CheckText(text); p != nil {
		return "", usage("secret "+s.Name+": "+p.Message, p.Hint)
	}
	display.Hide(text)
	return text, nil
}

// secretFor reads the value for a host.
func (f *Fleet) secretFor(ctx context.Context, from secretsource.Source, what, name string) (string, error) {
	own := from
	own.File, own.Command = strings.ReplaceAll(from.File, "{name}", name), strings.ReplaceAll(from.Command, "{name}", name)
	if own != from {
		what += " of " + name
	}
	value, err := f.secrets.GetFile(ctx, own, what)
	return value.Reveal(), err
}

// wantSecret sets the files of the secret that a target should have. The first observation tells
// where they are, the second what is there.
func wantSecret(t *rollout.Target, seen *host.Observation, s *NewSecret, value secretValue) {
	t.FilesOnly, t.Files, t.Paths = true, nil, nil
	if p := host.HelperProblem(*t.Host); p != nil {
		t.Files = []rollout.Wanted{{What: rollout.SecretFile + " " + s.Name, Problem: p}}
		return
	}
	config := seen.Config
	found, wrong := findSecret(config, s.Name)
	if wrong != nil {
		t.Files = []rollout.Wanted{{What: rollout.SecretFile + " " + s.Name, Problem: cmp.Or(seen.Unnamed, wrong)}}
		return
	}
	files := []host.FileSecret{found}
	data, note, wrong := secret.Form(found.Kind, value.text, strings.TrimRight(value.passphrase, "\r\n"))
	contents := [][]byte{data}
	passphrases := passphrasesOf(config, found)
	switch {
	case wrong != nil:
	case value.passphrase == "" && found.Kind == secret.PrivateKey && len(passphrases) == 0 && secret.Encrypted(value.text):
		wrong = problem.New(problem.Configuration, "set passphrase_secret_name, or take a key without a passphrase", "the key is encrypted, but the agent's configuration names no passphrase for it")
	case value.passphrase == "":
	case len(passphrases) == 0:
		wrong = problem.New(problem.Configuration, "leave the passphrase out; it is for a private key with passphrase_secret_name", "the agent's configuration names no passphrase for %s", s.Name)
	}
	if value.passphrase != "" && wrong == nil {
		for _, p := range passphrases {
			data, _, problem := secret.Form(p.Kind, value.passphrase, "")
			wrong = cmp.Or(wrong, problem)
			files, contents = append(files, p), append(contents, data)
		}
	}
	for i, file := range files {
		w := wantedSecret(seen, file, contents[i])
		if w.Problem = cmp.Or(wrong, w.Problem); note != "" && i == 0 && wrong == nil {
			w.Remarks = append(w.Remarks, note)
		}
		t.Files, t.Paths = append(t.Files, w), append(t.Paths, file.Path)
	}
}

// wantedSecret returns a secret's file as it should be: with mode 0600, of the agent's user.
func wantedSecret(seen *host.Observation, file host.FileSecret, data []byte) rollout.Wanted {
	w := rollout.Wanted{What: rollout.SecretFile + " " + file.Name, Seen: seen.Other(file.Path), Data: data}
	user := cmp.Or(seen.Unit.User, "root")
	folder := display.ArgOn("linux", path.Dir(file.Path))
	switch now := w.Seen; {
	case now.Path == "" && len(seen.Others) > 0:
		w.Problem = problem.New(problem.Drift, "run this again", "the agent's configuration changed while it was read")
	case now.Kind == "nodir" && !now.Makeable:
		w.Problem = problem.New(problem.Configuration, "on the host: install -d -m 700 -o "+user+" "+folder, "the folder of %s does not exist, and root can't safely create it: others can write a folder above it, or the agent's configuration", file.Path)
	case now.Untrusted != "":
		w.Problem = problem.New(problem.Configuration, "let root own the agent's configuration, or that user the file and its folder", "%s", now.Untrusted)
	case now.Kind != "file":
	default:
		if owner, group, _ := strings.Cut(now.Owner, ":"); owner != user || seen.Unit.Group != "" && group != seen.Unit.Group {
			w.Owner = user + ":" + seen.Unit.Group
			w.Remarks = append(w.Remarks, "the owner of "+file.Path+" is "+now.Owner+", and becomes "+user)
		}
		if now.Mode != "600" {
			w.Mode = "600"
			w.Remarks = append(w.Remarks, "the mode of "+file.Path+" is "+now.Mode+", and becomes 600")
		}
	}
	return w
}

// findSecret returns the file secret of a name in an agent's configuration.
func findSecret(config host.AgentConfig, name string) (host.FileSecret, *problem.Error) {
	var found []host.FileSecret
	var names []string
	for _, s := range config.FileSecrets {
		switch {
		case s.Name == name:
			found = append(found, s)
		case !slices.Contains(names, display.Sanitise(s.Name, 80)):
			names = append(names, display.Sanitise(s.Name, 80))
		}
	}
	hint := cmp.Or(inventory.DidYouMean(name, slices.Values(names)), "its names are secret_name, key_secret_name and passphrase_secret_name in the agent's configuration")
	switch {
	case len(found) == 0 && len(names) == 0:
		return host.FileSecret{}, problem.New(problem.Configuration, "a secret is a file of a file_system provider", "the agent reads no secret from a file")
	case len(found) == 0:
		return host.FileSecret{}, problem.New(problem.Configuration, hint, "the agent reads no secret %s from a file; it reads %s", name, listed(names))
	case len(found) > 1:
		return host.FileSecret{}, problem.New(problem.Configuration, "use different names in the agent's configuration", "the agent reads secrets called %s from several folders", name)
	case found[0].Path == "":
		return host.FileSecret{}, problem.New(problem.Configuration, "see secret_providers in the agent's configuration", "the provider of secret %s has no absolute secrets_directory", name)
	}
	return found[0], nil
}

// passphrasesOf returns the secrets with the passphrase of a private key: those that a pipeline
// names together with it.
func passphrasesOf(config host.AgentConfig, key host.FileSecret) (list []host.FileSecret) {
	for _, s := range config.FileSecrets {
		shares := func(pipeline string) bool { return slices.Contains(key.Pipelines, pipeline) }
		if key.Kind == secret.PrivateKey && s.Kind == "passphrase" && s.Path != "" && s.Path != key.Path && slices.ContainsFunc(s.Pipelines, shares) {
			list = append(list, s)
		}
	}
	return list
}
