module generated

go 1.19

require golang.org/x/oauth2 v0.0.0

// What the generated client has of it are two types.
replace golang.org/x/oauth2 => ./oauth2
