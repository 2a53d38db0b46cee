"""FOD, Focus the Discrepancy (Yao, Li, Qian, Luo, Zhang, ICCV 2023)."""
