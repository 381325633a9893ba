"""The connectivity test: real packets between real places of a running lab."""
