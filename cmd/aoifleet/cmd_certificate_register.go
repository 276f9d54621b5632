package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// signInFlags name an application and who signs in to read or change it.
type signInFlags struct {
	selection
	files                                         []string // of register
	tenant, client, cloud, objectID, on, signWith string
	yes, verbose                                  bool
}

func (flags *signInFlags) add(cmd *cobra.Command) {
	flags.addIdentity(cmd)
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask for confirmation")
}

func (flags *signInFlags) addIdentity(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.tenant, "tenant", "", "`ID` of the tenant")
	f.StringVar(&flags.client, "client-id", "", "`ID` of the application (client)")
	f.StringVar(&flags.signWith, "sign-with", "", "`FILE` with a certificate that the application already has, to sign in as the application; default: as the operator (az login)")
	f.BoolVar(&flags.verbose, "verbose", false, "show who is signed in to Azure")
}

func certificateRegisterCommand(call *invocation) *cobra.Command {
	var flags signInFlags
	cmd := &cobra.Command{Use: "register [FILE...]", Short: "Add the certificate to the application, beside its other certificates (Microsoft Graph)",
		Long: "Add the certificate to the application, beside its other certificates (Microsoft Graph).\n\n" +
			"Tenant and application are read from the agents' own configuration, over SSH. With --tenant no host is contacted; then " +
			"each FILE may be without its key: .cer, PEM, DER, PKCS#7, or keyvault://VAULT/NAME.",
		RunE: func(_ *cobra.Command, files []string) error {
			flags.files = files
			return runRegister(call, flags)
		}}
	flags.selection.add(cmd)
	flags.addCertificate(cmd)
	call.outputFlag(cmd)
	flags.add(cmd)
	cmd.Flags().Lookup("client-id").Usage = "`ID` of the application (client); without --tenant: refuse if a host names another one"
	cmd.Flags().StringVar(&flags.cloud, "cloud", "", "Azure `CLOUD`, with --tenant: public, usgovernment or china")
	cmd.Flags().StringVar(&flags.objectID, "object-id", "", "object `ID` of the application (or of the service principal, as --on), with --sign-with if it may not read itself")
	cmd.Flags().StringVar(&flags.on, "on", "", "`OBJECT` to add it to: application or service-principal; default: the application, if it is in the tenant")
	return cmd
}

func runRegister(call *invocation, flags signInFlags) error {
	if err := call.mayAsk(flags.yes); err != nil {
		return err
	}
	if flags.objectID != "" && flags.signWith == "" {
		return usage("--object-id needs --sign-with", "leave it out: the signed-in operator can read it")
	}
	at, known := verify.PlaceNamed(flags.on, flags.objectID)
	if !known {
		return usage(fmt.Sprintf("--on must be application or service-principal, not %q", flags.on), "leave it out: the application, if it is in the tenant")
	}
	list, registrar, err := toRegister(call, flags)
	if err != nil {
		return err
	}
	defer closeRegistrar(call, flags, registrar)
	return changeApplication(call, "register", list, flags.yes, func(each func(*verify.Registration)) error {
		return registrar.Register(call.ctx, list, at, each)
	})
}

// openRegistrar signs in, before any host is checked: see Registrar.SignIn. It also returns the
// certificate of --sign-with.
func openRegistrar(call *invocation, flags signInFlags, cloud azurecloud.Settings) (*verify.Registrar, *certificate.Certificate, error) {
	registrar, signer, err := newRegistrar(call, flags, cloud)
	if err == nil {
		registrar.SignIn(call.ctx, flags.tenant)
	}
	return registrar, signer, err
}

// newRegistrar is openRegistrar for a command that may not need to sign in.
func newRegistrar(call *invocation, flags signInFlags, cloud azurecloud.Settings) (*verify.Registrar, *certificate.Certificate, error) {
	signer, err := signer(call, flags, cloud)
	if err != nil {
		return nil, nil, err
	}
	registrar, err := verify.NewRegistrar(cloud, call.azure, call.getenv, signer)
	return registrar, signer, err
}

func closeRegistrar(call *invocation, flags signInFlags, registrar *verify.Registrar) {
	if flags.verbose {
		for _, who := range registrar.SignedIn() {
			call.note("%s", who)
		}
	}
	registrar.Close()
}

// toRegister returns the certificates of the flags, or of the fleet, and the registrar of their
// cloud.
func toRegister(call *invocation, flags signInFlags) ([]*verify.Registration, *verify.Registrar, error) {
	if flags.tenant != "" || flags.cloud != "" || len(flags.files) > 0 {
		return registerFiles(call, flags)
	}
	f, err := call.open(flags.request(call, fleet.Install), checking)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	registrar, _, err := openRegistrar(call, flags, f.Inventory.Azure)
	if err != nil {
		return nil, nil, err
	}
	answers := verify.Questions(f.Status(call.ctx), "")
	for _, n := range answers.NotAsked {
		if n.Outcome != rollout.NotApplicable {
			call.note("%s was left out: %s", n.Host, n.Outcome)
		}
	}
	call.code = notAskedCode(answers.NotAsked) // unless a later result is worse
	list := verify.Registrations(answers.Questions)
	if len(list) == 0 {
		return nil, nil, &problem.Error{Class: problem.Refused, Message: "no host's configuration names the application of its certificate", Hint: "name it with --tenant, --client-id and --certificate"}
	}
	return list, registrar, verify.CheckOnly(list, flags.client)
}

func registerFiles(call *invocation, flags signInFlags) ([]*verify.Registration, *verify.Registrar, error) {
	const hint = "aoifleet certificate register --tenant ID --client-id ID FILE"
	cloud := azurecloud.Settings{Name: flags.cloud}
	sources := flags.files
	if flags.certificate != "" {
		sources = append(sources, flags.certificate)
	}
	switch {
	case flags.tenant == "" || flags.client == "" || len(sources) == 0:
		return nil, nil, usage("register without an inventory needs --tenant, --client-id and a FILE", hint)
	case flags.inventory != "" || flags.limit != "":
		return nil, nil, usage("--tenant excludes --inventory and --limit: no host is contacted", hint)
	}
	reader := call.caller(nil).Reader(cloud)
	var list []*verify.Registration
	for _, source := range sources {
		cert, err := reader.Public(call.ctx, source)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(list, func(r *verify.Registration) bool { return r.Certificate.Equal(cert) }) {
			list = append(list, &verify.Registration{TenantID: flags.tenant, ClientID: flags.client, Certificate: cert})
		}
	}
	registrar, _, err := openRegistrar(call, flags, cloud)
	return list, registrar, err
}

// signer returns the certificate that signs in as the application, nil if the operator
// signs in.
func signer(call *invocation, flags signInFlags, cloud azurecloud.Settings) (*certificate.Certificate, error) {
	if flags.signWith == "" {
		return nil, nil
	}
	return readOne(call, flags.signWith, cloud)
}

// changeApplication shows the change, asks for confirmation, makes it and prints the result.
func changeApplication(call *invocation, verb string, list []*verify.Registration, yes bool, do func(each func(*verify.Registration)) error) error {
	asJSON := call.json()
	out := call.stdout
	if asJSON {
		out = call.stderr // stdout is for the document alone
	}
	report.RegistrationsPlan(out, verb, list)
	call.signals.heed()
	if len(list) == 0 {
		fmt.Fprintf(out, "there is no certificate to %s\n", verb)
	} else if yes || call.agree(fmt.Sprintf("%s %s?", verb, certificateCount(len(list)))) {
		err := do(func(r *verify.Registration) {
			if !asJSON {
				report.RegistrationResult(out, verb, r)
			}
		})
		if err != nil {
			return err
		}
		call.code = registrationsCode(list, call.code)
	} else {
		call.code = problem.ExitEnded
	}
	call.exit(call.code)
	if asJSON {
		call.print(struct {
			report.Head
			report.Registrations
		}{call.head(), report.RegistrationsOf(list)})
	}
	return nil
}

func certificateCount(n int) string {
	if n == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", n)
}

// registrationsCode returns the exit code of Azure's answers, or the one so far.
func registrationsCode(list []*verify.Registration, soFar int) int {
	var errs []*problem.Error
	for _, r := range list {
		if r.Err != nil {
			errs = append(errs, &r.Err.Base)
		}
	}
	return cmp.Or(answersCode(errs), soFar)
}
