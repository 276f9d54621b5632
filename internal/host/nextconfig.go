package host

import (
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// ReadConfig returns what an agent's configuration says, and the provider whose certificate a
// rotation with it installs; nil: a managed identity. The error is a *problem.Error.
func ReadConfig(data []byte, agent inventory.Agent) (AgentConfig, *Provider, error) {
	config, err := parseAgentConfig(string(data))
	if err != nil {
		return config, nil, &problem.Error{Class: problem.Configuration, Message: "the new configuration: " + err.Error()}
	}
	provider, err := config.choose(agent)
	return config, provider, err
}
