package configuration

// Lint returns all that is wrong with a configuration, in the order of its lines.
func Lint(data []byte) []Finding { return nil }

// Dangers returns what a change needs --force for.
func Dangers(old, new []byte) []Finding { return nil }

// Fleet returns what is wrong between the configurations of a fleet.
func Fleet(files []Named) []Finding { return nil }
