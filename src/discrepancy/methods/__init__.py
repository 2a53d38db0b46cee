"""The methods: one folder per paper, beside what several of them share."""
