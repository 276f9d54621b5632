// Package azurecloud has the settings of an Azure cloud and the route to it, as under
// azure: of an inventory. It contacts nothing: package azure does.
package azurecloud

// Settings describe a cloud. The zero value is the public cloud.
type Settings struct {
	Name          string // public, usgovernment, china or custom; "": public
	AuthorityHost string // https://HOST[:PORT] of Entra; "": the cloud's
	VaultSuffix   string // DNS suffix of a vault's name, without a leading dot; "": the cloud's
	GraphHost     string // https://HOST[:PORT] of Microsoft Graph; "": the cloud's
	// DisableInstanceDiscovery skips the request to login.microsoftonline.com that checks
	// an authority which Microsoft's library does not know.
	DisableInstanceDiscovery bool
	Proxy                    string // http[s]://HOST[:PORT] for every https request; "": from the environment
	CAFile                   string // PEM file of the authorities to trust, at most 4 MiB; "": the system's
}
