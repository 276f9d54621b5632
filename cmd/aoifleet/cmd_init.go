package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/newinventory"
)

type initFlags struct {
	hosts, hostsFile              string
	user, certificate, jump, sudo string
}

func initCommand(call *invocation) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{Use: "init [FILE]", Short: "Write a commented inventory of a list of hosts; asks on a terminal", Args: cobra.MaximumNArgs(1),
		Long: "Write a commented inventory (fleet.yaml) of a list of hosts, and the JSON schema for editors beside it.\n\n" +
			"A line of the list is a name, [USER@]ADDRESS[:PORT], or a name and one of these. Without a list, init asks on a terminal.\n" +
			"It replaces no file. For a list that Ansible or Azure has: aoifleet inventory import --help",
		RunE: func(_ *cobra.Command, args []string) error {
			return runInit(call, flags, append(args, "fleet.yaml")[0])
		}}
	f := cmd.Flags()
	f.StringVar(&flags.hosts, "hosts", "", "the `HOSTS`, with a comma between two")
	f.StringVar(&flags.hostsFile, "hosts-file", "", "`FILE` with a host on each line; -: the standard input")
	f.StringVar(&flags.user, "user", "", "the `LOGIN` on the hosts (default: ssh_config's)")
	f.StringVar(&flags.certificate, "certificate", "certs/fleet.p12.b64", "`FILE` of the new certificate, relative to the inventory, or keyvault://VAULT/NAME; with {name}: one for each host")
	f.StringVar(&flags.jump, "jump", "", "the jump `HOST`, [user@]host[:port], or several with a comma between two (default: ssh_config's)")
	f.StringVar(&flags.sudo, "sudo", "passwordless", "`HOW` the login becomes root: passwordless, password (asks) or none (the login is root)")
	return cmd
}

func runInit(call *invocation, flags initFlags, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return usage(file+" already exists", "name another file: aoifleet init FILE")
	}
	draft, err := flags.draft(call)
	if err != nil {
		return err
	}
	for key, value := range flags.settings() {
		if wrong := draft.With(key, value, call.inventoryEnv()); wrong != "" {
			return usage("--"+key+": "+wrong, "see: aoifleet init --help")
		}
	}
	if err := call.writeInventory(draft, file); err != nil {
		return err
	}
	fmt.Fprintf(call.stderr, "next: %s\n", strings.Join(firstSteps(file, flags.certificate, call.home), "\n      "))
	return nil
}

// draft returns the inventory of the hosts that the flags name, or that the operator types.
func (flags *initFlags) draft(call *invocation) (*newinventory.Draft, error) {
	switch {
	case flags.hosts != "" && flags.hostsFile != "":
		return nil, usage("--hosts and --hosts-file exclude each other", "write all hosts to the file")
	case flags.hosts != "":
		return newinventory.FromList(strings.ReplaceAll(flags.hosts, ",", "\n"), "host")
	case flags.hostsFile != "":
		text, err := readSource(call, flags.hostsFile)
		if err != nil {
			return nil, err
		}
		return newinventory.FromList(string(text), "line")
	case !call.asks:
		return nil, usage("init needs hosts", "aoifleet init --hosts a,b, or --hosts-file FILE; on a terminal it asks")
	}
	return flags.ask(call)
}

// settings returns the settings of all hosts.
func (flags *initFlags) settings() map[string]any {
	all := map[string]any{"certificate": flags.certificate}
	if flags.user != "" {
		all["user"] = flags.user
	}
	if flags.jump != "" {
		all["jump"] = newinventory.OneOrMore(flags.jump)
	}
	switch flags.sudo {
	case "passwordless":
	case "password":
		all["sudo"] = newinventory.AskSudo
	default:
		all["sudo"] = flags.sudo
	}
	return all
}

// ask asks for the hosts and the settings on the terminal.
func (flags *initFlags) ask(call *invocation) (*newinventory.Draft, error) {
	in := bufio.NewReader(call.stdin)
	read := func(question string) (string, error) {
		fmt.Fprint(call.stderr, question)
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return "", usage("the input ended", "nothing was written")
		}
		return strings.TrimSpace(line), err
	}
	fmt.Fprintln(call.stderr, "the hosts, one on each line: a name, [user@]address[:port], or a name and one of these; an empty line ends")
	list := ""
	for {
		line, err := read("host: ")
		if err != nil {
			return nil, err
		}
		if line == "" && list != "" {
			break
		}
		typed, err := newinventory.FromList(list+line, "line")
		if err == nil {
			_, err = typed.Text("", call.inventoryEnv())
		}
		if err != nil {
			call.printError(explain(err).Message, "")
			continue
		}
		list += line + "\n"
	}
	draft, err := newinventory.FromList(list, "line")
	for _, q := range []struct {
		key, question string
		answer        *string
	}{
		{"user", "login on the hosts [ssh_config's]: ", &flags.user},
		{"jump", "jump host, [user@]host[:port] [ssh_config's]: ", &flags.jump},
		{"sudo", "sudo: passwordless, password (asks) or none (the login is root) [passwordless]: ", &flags.sudo},
		{"certificate", "file of the new certificate; with {name}: one for each host [certs/fleet.p12.b64]: ", &flags.certificate},
	} {
		for before := *q.answer; err == nil; {
			var line string
			if line, err = read(q.question); err != nil {
				return nil, err
			}
			if *q.answer = before; line != "" {
				*q.answer = line
			}
			value, given := flags.settings()[q.key]
			if !given {
				break
			}
			wrong := draft.With(q.key, value, call.inventoryEnv())
			if wrong == "" {
				break
			}
			call.printError(wrong, "")
		}
	}
	return draft, err
}

func (call *invocation) inventoryEnv() inventory.Env {
	return inventory.Env{User: call.user, Home: call.home}
}

// firstSteps returns the next three commands: a certificate, trust, and a check of everything else.
func firstSteps(file, certificate, home string) []string {
	i := " -i " + display.Arg(file)
	path := certificate
	if rest, ok := strings.CutPrefix(path, "~/"); ok { // a shell does not replace ~ inside of quotes
		path = filepath.Join(home, rest)
	} else if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	first := "aoifleet certificate new --out " + display.Arg(path)
	switch _, err := os.Stat(path); {
	case azurecloud.InVault(certificate):
		first = "aoifleet certificate verify" + i
	case strings.Contains(certificate, "{name}"):
		first = "aoifleet certificate new --per-host" + i
	case err == nil:
		first = "aoifleet certificate inspect " + display.Arg(path)
	}
	return []string{first, "aoifleet hostkeys scan" + i, "aoifleet doctor" + i}
}

// writeInventory writes a new inventory, and the schema beside it unless there is one.
func (call *invocation) writeInventory(draft *newinventory.Draft, file string) error {
	text, err := draft.Text(file, call.inventoryEnv())
	if err != nil {
		return err
	}
	if err := writeNew(file, text); err != nil {
		return err
	}
	schema, about := filepath.Join(filepath.Dir(file), newinventory.Schema), "is for editors"
	switch have, err := localfile.Read(schema, newinventory.MaxSize); {
	case err == nil && string(have) != schemaText():
		about = "is of another version: aoifleet inventory schema >" + display.Arg(schema)
	case err != nil && writeNew(schema, []byte(schemaText())) != nil:
		about = "can't be written; an editor needs it: aoifleet inventory schema --help"
	}
	fmt.Fprintf(call.stderr, "%s in %s; %s %s\n", inventory.HostCount(draft.Hosts()), display.MaskLines(file), display.MaskLines(schema), display.MaskLines(about))
	return nil
}

// writeNew writes a file that does not exist yet.
func writeNew(path string, text []byte) error {
	staged, err := localfile.Stage(filepath.Dir(path), text, 0o644)
	if err != nil {
		_ = os.Remove(staged)
		return usage(path+" can't be written: "+localfile.Reason(err), "name a file in a folder in which you may write")
	}
	switch err := localfile.Place(staged, path); {
	case errors.Is(err, fs.ErrExist):
		return usage(path+" already exists", "name another file")
	case err != nil:
		return usage(path+" can't be written: "+localfile.Reason(err), "name a new file")
	}
	return nil
}

// readSource reads a file or, for -, the standard input. What PowerShell 5 writes with > is UTF-16.
func readSource(call *invocation, name string) ([]byte, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(call.stdin, newinventory.MaxSize+1))
	} else {
		text, err = localfile.Read(name, newinventory.MaxSize+1)
	}
	switch {
	case err != nil:
		return nil, usage(name+" can't be read: "+localfile.Reason(err), "name a file that you may read, or - for the standard input")
	case len(text) > newinventory.MaxSize:
		return nil, usage(fmt.Sprintf("%s is larger than %d MiB", name, newinventory.MaxSize>>20), "is it the right file?")
	}
	if utf8, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), text); err == nil {
		text = utf8
	}
	return text, nil
}
