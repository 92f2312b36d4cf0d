"""Every number that ever leaves a home, read off what the home sends: `fedhome plan numbers`."""
